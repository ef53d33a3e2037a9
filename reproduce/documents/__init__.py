"""What README.md and docs/ show of the records: tables between markers, and pictures."""
