// Package datafolder is the layout of a master's data folder: what lies in it, whose it is, and who may use it. Several rooms of a
// master read and write there; what they have in common is here.
package datafolder

import (
	"path/filepath"

	"github.com/wheelhouse-k8s/wheelhouse/admin"
	"github.com/wheelhouse-k8s/wheelhouse/membership"
)

// Files of a data folder.
const (
	// IdentityFile holds the master's name.
	IdentityFile = "identity"
	// StoreFile is what the folder remembers of its store: see Kept.
	StoreFile = "store-identity"
	// FirstStartFile is there from the first start until the store has its identity: what else is there then proves nothing.
	FirstStartFile = "first-start"
	// NewClusterFile is there from a start with --new-cluster until one without: the flag works once, though it be left in a
	// service's file.
	NewClusterFile = "new-cluster"
	// RecoveringFile is there while a recovery is under way. It holds what the recovery has decided, so that one that was cut off
	// is gone on with.
	RecoveringFile = "recovering"
	// RecoveredFile is there from a recovery on until a start without --recover-quorum: the flag works once, though it be left in
	// a service's file.
	RecoveredFile = "recovered"
	// RestoringFile marks a folder in which a restore was interrupted. Nothing starts on it.
	RestoringFile = "restoring"
	// ExternalFile tells of the external etcd that this master's data are in.
	ExternalFile = "external-etcd"
	// PeerPortFile keeps the port for other masters when --peer-port leaves the choice: it is written into the membership.
	PeerPortFile = "peer-port"
	// EncryptionFile is the encryption configuration that masters keep by themselves, in a data folder and among the keys of a
	// backup; OperatorEncryptionFile one that was given with --encryption-provider-config, which a restore puts into the folder.
	EncryptionFile         = "encryption.yaml"
	OperatorEncryptionFile = "encryption-provider-config.yaml"
	// KubeconfigFile is the administrator's.
	KubeconfigFile = "admin.kubeconfig"
)

// What these names begin with is a copy, and the time follows: RecoveryPrefix of the store that a recovery leaves, MovedPrefix of data
// that were moved aside, in a data folder or beside it, and RestorePrefix of data that a restore is making.
const (
	RecoveryPrefix = "etcd.before-recovery-"
	MovedPrefix    = ".replaced-"
	RestorePrefix  = ".restore-"
)

// SharedPKI begins the names of those files that all masters share which belong into the authority's folder.
const SharedPKI = "pki/"

// entries are those of a data folder that masters write.
var entries = map[string]bool{"etcd": true, "pki": true, "lock": true, "backups": true, "lost+found": true,
	IdentityFile: true, StoreFile: true, FirstStartFile: true, NewClusterFile: true, RecoveringFile: true, RecoveredFile: true, RestoringFile: true,
	ExternalFile: true, PeerPortFile: true, EncryptionFile: true, OperatorEncryptionFile: true, KubeconfigFile: true,
	membership.MarkName: true, membership.KeyName: true, admin.SocketName: true}

// proofs are entries that are there since the first start of a master on a folder.
var proofs = []string{IdentityFile, StoreFile, "etcd", ExternalFile, EncryptionFile}

// Kubeconfig is the administrator's in a data folder.
func Kubeconfig(dir string) string { return filepath.Join(dir, KubeconfigFile) }
