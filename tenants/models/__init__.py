"""Teams (tenants) and what belongs to them; one module for each subject, all names here."""

from tenants.models.audit import AuditEntry, Notification
from tenants.models.catalogue import InstanceType
from tenants.models.people import Membership, Role, RoleRule
from tenants.models.quota import QuotaRequest, QuotaUsage
from tenants.models.sign_in import GrantedAdmin, UserSession
from tenants.models.tenant import (
    ClusterContact,
    CostCenter,
    IdempotencyRecord,
    PodSecurity,
    Tenant,
    validate_slug,
)
from tenants.models.tokens import SCOPES, ApiToken, IssuerRule, ServiceAccount, SigningKey, TrustedIssuer

__all__ = [
    "SCOPES",
    "ApiToken",
    "AuditEntry",
    "ClusterContact",
    "CostCenter",
    "GrantedAdmin",
    "IdempotencyRecord",
    "InstanceType",
    "IssuerRule",
    "Membership",
    "Notification",
    "PodSecurity",
    "QuotaRequest",
    "QuotaUsage",
    "Role",
    "RoleRule",
    "ServiceAccount",
    "SigningKey",
    "Tenant",
    "TrustedIssuer",
    "UserSession",
    "validate_slug",
]
