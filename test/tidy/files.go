package tidy

// writes are the calls that give a file a name or content. What a master keeps must survive a power loss, which package durable sees to.
var writes = []string{
	"os.WriteFile", "os.Create", "os.CreateTemp", "os.OpenFile", "os.Rename", "os.Link", "os.Symlink", "os.Truncate", "unix.Rename", "unix.Renameat", "unix.Renameat2",
}

// notProduct are folders with programs and tests, none of which a master runs.
var notProduct = []string{"bench", "test", "apiserver/openapi/generate", "patch/typeschema/generate", "datafolder/foldertest"}

// direct are the places that write without durable: file, call, and why that may be.
var direct = map[[2]string]string{
	{"cmd/wheelhouse/backup_export.go", "os.Rename"}:    "an export goes to a new folder of the operator's, and the command says when it is done",
	{"cmd/wheelhouse/backup_export.go", "os.WriteFile"}: "an export goes to a new folder of the operator's, and the command says when it is done",
	{"datafolder/lock.go", "os.OpenFile"}:               "a lock has no content, and is made anew if it is gone",
	{"master/backups/replacement.go", "os.OpenFile"}:    "a lock has no content, and is made anew if it is gone",
	{"master/backups/replacement.go", "unix.Renameat2"}: "two folders change places; both names are in one folder, which is synced at once",
	{"master/backups/reader.go", "os.WriteFile"}:        "it is in the system's temporary folder, and removed before the function returns",
	{"master/enrol/recover.go", "os.OpenFile"}:          "files of a copy, each synced; the copy has its name when all are whole",
	{"master/enrol/recover.go", "unix.Renameat2"}:       "two members change places; the folder is synced at once, and a recovery that is cut off goes on",
	{"pki/files.go", "os.Rename"}:                       "several files get their names, and their folders are synced then; a journal has them until that is done",
	{"store/backup/create.go", "os.CreateTemp"}:         "it is there while a backup is read, and is never read after a start",
	{"store/backup/folder.go", "os.OpenFile"}:           "it only reads",
	{"store/etcd/embedded.go", "os.WriteFile"}:          "it tries whether the folder can be written, and is removed at once",
	{"store/etcd/keep.go", "os.OpenFile"}:               "the ledger is appended to without a sync: an older state of it is as good",
	{"store/etcd/ledger.go", "os.WriteFile"}:            "the ledger is made anew if a power loss tears it, and syncing one of millions of keys would hold up writes",
	{"store/etcd/ledger.go", "os.Rename"}:               "the ledger is made anew if a power loss tears it, and syncing one of millions of keys would hold up writes",
}
