//! Controllers: clients of the API that make reality follow the objects.
