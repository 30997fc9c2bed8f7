"""What a person sees: progress, funnel, contact sheet, demo videos."""
