//! Netlink: links, addresses, routes and neighbours, wrapped in one place.
