"""What acts in a configuration, measured from outside the model on real training steps."""

from ablations.audit.audit import Outcome, audit, audit_config
from ablations.audit.cell import Cell, Finding

__all__ = ["Cell", "Finding", "Outcome", "audit", "audit_config"]
