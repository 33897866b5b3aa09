//! Instances, leases, holders, scope, retention and single-flight, generic over what is held.
