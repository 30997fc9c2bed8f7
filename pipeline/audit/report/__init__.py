"""The report: one HTML file that opens without a server, and the same in JSON."""
