"""The report: accounting, findings, cost, and the page itself."""
