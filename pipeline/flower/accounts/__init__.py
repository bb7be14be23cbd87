"""The tab "Accounts": what a month brought and cost, and what a provider's file says otherwise."""
