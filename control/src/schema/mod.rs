//! The field table of the Kubernetes API: validation, OpenAPI, strategic merge.
