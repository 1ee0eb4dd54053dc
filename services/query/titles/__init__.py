"""What is known of videos beside their counts: an index of ids and titles, filled from the topic of metadata."""
