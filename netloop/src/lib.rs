//! QUIC on one pinned thread, exchanged with the rest through rings.
