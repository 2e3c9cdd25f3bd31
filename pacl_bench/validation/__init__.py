"""Values checked against what declares them: settings, configurations, JSON of records and cards. No torch here."""
