"""What happened to calls, brought to all who subscribed to it: positions, cursors, filters, deliveries."""
