"""What acts in a configuration, measured from outside the model on real training steps."""

from ablations.audit.audit import AuditOutcome, audit, audit_config
from ablations.audit.cell import Cell, Finding

__all__ = ["AuditOutcome", "Cell", "Finding", "audit", "audit_config"]
