"""The published setting, rehearsed: every command of its page, with stand-ins of the same form."""
