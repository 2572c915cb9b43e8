"""Known-bad versions of our queries and schema, grouped by fault. test_canaries.py has the gate catch them."""

from canaries.canary import Canary
from canaries.costly import COSTLY
from canaries.elsewhere import ELSEWHERE
from canaries.growing import GROWING
from canaries.locking import LOCKING
from canaries.uneven import UNEVEN
from canaries.working import WORKING

CANARIES: dict[str, Canary] = {**GROWING, **COSTLY, **LOCKING, **ELSEWHERE, **WORKING, **UNEVEN}
