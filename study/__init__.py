"""The reproduction: grid, runs, records, tables; rivals, the molecular arm, the audit, mini-SAM's making, commands."""
