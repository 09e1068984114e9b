"""Pictures and pages that say what a run has learned: interpretation, heat maps, sheets, the report."""
