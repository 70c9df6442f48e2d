// Package codec turns objects into bytes and back: JSON, YAML, protobuf, tables, lists and watch frames, and finds out
// from a request's headers which of them the client wants.
//
// It never decodes what is already encoded: an object's bytes are copied between a head and a tail that say its kind.
//
// Below it, for everybody who handles objects, stand
//
//   - wire: protobuf that is read and written without decoding it, and the envelope in which Kubernetes keeps it;
//   - objectjson: objects as JSON;
//   - canonical: objects as they are after having been encoded and decoded;
//   - stored: values of the store, and what can be read of them without decoding.
//
// They compile a plan for each Go type from its description in api/shape, as api/bounds and patch do.
//
// # Two forms of objects
//
// Most objects are values of generated types: structs with an encoding in protobuf, in which they are stored. Those of custom resources
// have members that nobody knew when the program was made: they are trees (api/custom), and JSON wherever they are not in memory. A
// kind says which form its objects have (kind.Form). Where it makes a difference:
//
//   - stored has an implementation for each;
//   - objectjson, canonical and bounds know custom.Object as one more type with a plan, written by hand where the tree begins;
//   - patch deduces the managed fields of trees, and has no strategic merge for them;
//   - the answer to who wants protobuf of a tree is that there is none (SupportedBy, NegotiateFor), but for its metadata;
//   - in a list each tree says what it is, as upstream's do.
package codec
