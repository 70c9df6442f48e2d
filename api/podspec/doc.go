// Package podspec is what all that has a pod spec shares, pods and the templates of workloads: defaults, validation, warnings,
// the names of resources, and walks over what a pod contains and refers to. Whoever judges pods uses these walks, so that a
// kind of container, or a place for a reference, cannot be forgotten in one of the judges.
package podspec
