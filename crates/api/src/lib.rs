//! Protobuf definitions and the code generated from them, nothing else.
