"""The tab "Calls": what happened to which call, for a supervisor."""
