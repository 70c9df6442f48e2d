// Package apps defines the kinds of the apps group: the workloads that keep pods running, and their history.
package apps
