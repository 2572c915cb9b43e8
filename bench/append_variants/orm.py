"""`append_variants.Count` through SQLAlchemy's ORM: the same tables, and the statements that the ORM writes.

Its engine uses only the given connection, so that its costs and round trips can be measured.
"""

from __future__ import annotations

from datetime import UTC, datetime

from sqlalchemy import BigInteger, DateTime, ForeignKey, create_engine, func, select
from sqlalchemy.orm import DeclarativeBase, Mapped, Session, mapped_column
from sqlalchemy.pool import StaticPool
from ulid import ULID

from append_variants import AGENT, ROLE, Count, content


class Base(DeclarativeBase):
    type_annotation_map = {datetime: DateTime(timezone=True), int: BigInteger}  # noqa: RUF012 - SQLAlchemy's own form


class ChatSession(Base):
    __tablename__ = "count_sessions"

    session_id: Mapped[str] = mapped_column(primary_key=True)
    message_count: Mapped[int]
    updated_at: Mapped[datetime]


class ChatMessage(Base):
    __tablename__ = "count_messages"

    message_id: Mapped[str] = mapped_column(primary_key=True)
    session_id: Mapped[str] = mapped_column(ForeignKey("count_sessions.session_id"))
    sequence: Mapped[int]
    role: Mapped[str]
    agent_id: Mapped[str | None]
    content: Mapped[str]
    created_at: Mapped[datetime]


class Orm(Count):
    title = "the same through an ORM"

    def __init__(self, connection):
        super().__init__(connection)
        self._engine = create_engine("postgresql+psycopg://", creator=lambda: connection, poolclass=StaticPool)
        self._engine.connect().close()  # Its initial queries run here.
        self._open: Session | None = None

    def statements(self, session_id):
        # Not closed here: that would roll back the measured transaction.
        self._open = Session(self._engine)
        self._write(self._open, session_id)
        self._open.flush()

    def ended(self):
        if self._open is not None:
            self._open.close()
            self._open = None

    def append(self, session_id):
        self.connection.autocommit = False  # The driver sends BEGIN, as in a service.
        try:
            with Session(self._engine) as session:
                self._write(session, session_id)
                session.commit()
        finally:
            self.connection.autocommit = True

    def _write(self, session, session_id):
        chat = session.get_one(ChatSession, session_id)
        messages = session.scalar(
            select(func.count()).select_from(ChatMessage).where(ChatMessage.session_id == session_id)
        )
        now = datetime.now(UTC)
        session.add(
            ChatMessage(
                message_id=str(ULID()),
                session_id=session_id,
                sequence=messages,
                role=ROLE,
                agent_id=AGENT,
                content=content(),
                created_at=now,
            )
        )
        chat.message_count = messages + 1
        chat.updated_at = now
