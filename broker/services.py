"""What the endpoints are handed: one object with every service of this process. Made in `assembly.py` alone."""

from dataclasses import dataclass

from broker.accounts.accounts import Accounts
from broker.accounts.budgets import Budgets
from broker.accounts.connections import Connections
from broker.accounts.definitions import DefinitionPins
from broker.accounts.links import Links
from broker.accounts.offers import Offers
from broker.accounts.own import OwnAccounts
from broker.accounts.upstream_oauth.renewals import Renewals
from broker.accounts.upstream_oauth.sign_ins import UpstreamSignIns
from broker.accounts.views import Views
from broker.audit.executions import Executions
from broker.audit.export import AuditExport
from broker.audit.query import AuditQuery
from broker.audit.trail import AuditTrail
from broker.clock import Clock
from broker.db.database import Database
from broker.gate.perform import Gate
from broker.identity.authenticate import Authenticator
from broker.identity.identities import Identities
from broker.identity.keys import Keys
from broker.identity.logins import Logins
from broker.identity.oauth.server import AuthorizationServer
from broker.identity.offboard import Offboarding
from broker.identity.oidc.server import OidcSignIn
from broker.identity.sessions import Sessions
from broker.identity.signin import SignIn
from broker.identity.tenants import Tenants
from broker.jobs.readiness import Readiness
from broker.metrics import Metrics
from broker.policy.grants import Grants
from broker.settings import Settings
from broker.tools.carried import Carried
from broker.tools.codemode.keeping import Keeping
from broker.tools.codemode.portal.run import Portal
from broker.tools.execute import ToolRunner
from broker.tools.explaining import Explaining
from broker.tools.listing import Listing
from broker.tools.questions import Questions
from broker.tools.underway import Underway
from broker.tools.watching import Watching


@dataclass(frozen=True, slots=True)
class Services:
    """Every service, by its noun."""

    settings: Settings
    clock: Clock
    db: Database
    metrics: Metrics
    authenticator: Authenticator
    tools: ToolRunner
    portal: Portal
    listing: Listing
    carried: Carried
    watching: Watching
    underway: Underway
    questions: Questions
    explaining: Explaining
    gate: Gate
    trail: AuditTrail
    audit: AuditQuery
    export: AuditExport
    executions: Executions
    programs: Keeping
    readiness: Readiness
    tenants: Tenants
    identities: Identities
    keys: Keys
    sessions: Sessions
    grants: Grants
    offboarding: Offboarding
    connections: Connections
    accounts: Accounts
    budgets: Budgets
    views: Views
    definitions: DefinitionPins
    renewals: Renewals
    upstream_sign_ins: UpstreamSignIns
    base_url: str
    logins: Logins
    sign_in: SignIn
    links: Links
    offers: Offers
    own_accounts: OwnAccounts
    oauth: AuthorizationServer
    oidc: OidcSignIn
