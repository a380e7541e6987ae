//! From Services and EndpointSlices to service maps: pure plans.
