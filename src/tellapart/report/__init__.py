"""Pictures and pages that say what a run has learned: interpretation, sheets of pictures, the report."""
