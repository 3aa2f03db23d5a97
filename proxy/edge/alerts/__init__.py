"""Single happenings told to people: Alertmanager, webhooks, PagerDuty."""
