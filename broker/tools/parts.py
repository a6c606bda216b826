"""What runs tools, put together once per process."""

from typing import Protocol

from broker.accounts.views import Views
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.gate.idempotency import Idempotency
from broker.gate.perform import Gate
from broker.identity.authenticate import Authenticator
from broker.identity.sandbox import SandboxRules
from broker.metrics import Metrics
from broker.settings import Limits
from broker.tools.codemode.keeping import Keeping
from broker.tools.codemode.portal.host import Parts
from broker.tools.codemode.portal.looking import Looking
from broker.tools.codemode.portal.operations import Offers
from broker.tools.codemode.portal.run import Portal
from broker.tools.codemode.programs import Programs
from broker.tools.codemode.ready import ReadySandbox
from broker.tools.codemode.run import CodeMode
from broker.tools.codemode.searching import Searching
from broker.tools.connect_url import ConnectUrl
from broker.tools.execute import ToolRunner
from broker.tools.hints import Hints


class Stored(Protocol):
    """The lowest parts of a process."""

    @property
    def db(self) -> Database: ...
    @property
    def trail(self) -> AuditTrail: ...
    @property
    def clock(self) -> Clock: ...
    @property
    def metrics(self) -> Metrics: ...


class Calling(Protocol):
    """The parts that a call goes through."""

    @property
    def gate(self) -> Gate: ...
    @property
    def idempotency(self) -> Idempotency: ...


def make_runner(
    parts: Stored,
    calls: Calling,
    authenticator: Authenticator,
    views: Views,
    ready: ReadySandbox,
    keeping: Keeping,
    connect_url: ConnectUrl,
    limits: Limits,
) -> ToolRunner:
    """Runs calls, and programs in the sandbox."""
    hints = Hints(authenticator)
    code = CodeMode(
        ready=ready,
        searching=Searching(parts.db, parts.clock),
        keeping=keeping,
        views=views,
        gate=calls.gate,
        hints=hints,
        clock=parts.clock,
        limits=limits,
        metrics=parts.metrics,
        rules=SandboxRules(parts.db),
    )
    return ToolRunner(
        authenticator=authenticator,
        views=views,
        gate=calls.gate,
        idempotency=calls.idempotency,
        trail=parts.trail,
        hints=hints,
        clock=parts.clock,
        connect_url=connect_url,
        programs=Programs(code, calls.idempotency),
    )


def make_portal(
    parts: Stored,
    calls: Calling,
    authenticator: Authenticator,
    views: Views,
    ready: ReadySandbox,
    keeping: Keeping,
    limits: Limits,
) -> Portal:
    """Runs programs over everything a caller has, in the same sandbox."""
    looking = Looking(views, Searching(parts.db, parts.clock), Offers())
    answering = Parts(calls.gate, views, Hints(authenticator), keeping, looking, parts.trail, parts.clock)
    return Portal(
        authenticator=authenticator,
        ready=ready,
        parts=answering,
        rules=SandboxRules(parts.db),
        limits=limits,
        metrics=parts.metrics,
    )
