// Package notes lists the keys of the store that are the masters' own: what they note there for each other, beside the objects.
package notes

import "github.com/wheelhouse-k8s/wheelhouse/registry"

// Root begins all keys but Masters.
const Root = registry.Own

const (
	// Store says which store it is: see membership.Store.
	Store = Root + "store"
	// Shared announces the present generation of the files that all masters share.
	Shared = Root + "shared"
	// TokenKey is when the key of service account tokens was replaced.
	TokenKey = Root + "token-key"
	// Backup is the record of backups.
	Backup = Root + "backup"
	// Invitations begins the records of tokens with which masters join.
	Invitations = Root + "tokens/"
	// Terms is where the fence of each Lease lies; its value is the name of the master that leads.
	Terms = Root + "terms/"
	// Masters is where upstream's API servers, and ours, keep a record for as long as they live.
	Masters = registry.Root + "masterleases/"
)
