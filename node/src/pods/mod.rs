//! The pod runtime: from a Pod object to containers, through CRI.
