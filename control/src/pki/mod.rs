//! The cluster's certificate authority and the credentials that it signs.
