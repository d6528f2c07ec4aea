//! Users, things, channels, connections and the access they give.
