// Package codec turns objects into bytes and back: JSON, YAML, protobuf, tables, lists and watch frames, and finds out
// from a request's headers which of them the client wants.
//
// It never decodes what is already encoded: an object's bytes are copied between a head and a tail that say its kind.
//
// Below it, for everybody who handles objects, stand
//
//   - wire: protobuf that is read and written without decoding it, and the envelope in which Kubernetes keeps it;
//   - objectjson: objects as JSON;
//   - canonical: objects as they are after having been encoded and decoded.
//
// They compile a plan for each Go type from its description in api/shape, as api/bounds and patch do.
//
// # Where another form of objects would plug in
//
// All objects are values of generated types with an encoding in protobuf. Objects whose type is known only when the server runs
// (those of custom resources) would be a second form: members in maps, stored as JSON. What differs between forms is asked here:
//
//   - registry, form.go and scan.go: how a stored value is read, judged and written, and what is read of it without decoding (its
//     name, uid, labels, owners and indexed fields). A value that begins with '{' is JSON there already.
//   - canonical.Settle and objectjson.Append: they find the plan by the object's Go type. A type that is a tree of maps has one
//     plan for all kinds, written by hand, beside those of the API's own scalars (special, in either package).
//   - Decode, which reads into a Message, and Item, which brings its encodings along: a form without protobuf has none to offer, and
//     the answer is ErrNotAcceptable.
//   - patch, plan.go: a plan from a schema alone, whose walk takes the members of maps for the fields of structs.
//   - bounds.JSON takes nil for what has no type.
package codec
