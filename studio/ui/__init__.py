"""What the tabs share: texts, theme, the frame of the page, and how a job's events become a picture on it."""
