"""The report: accounting, findings, cost, and the HTML page."""
