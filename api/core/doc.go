// Package core defines the kinds of the core group ("v1"): defaults, validation, columns and subresources,
// one file or more a kind.
package core
