package backup

import "time"

// Outcome is how one attempt to make a backup ended.
type Outcome struct {
	Time time.Time `json:"time"`
	// Name of the backup and the Vaults that hold it; empty after a failure.
	Name   string   `json:"name,omitempty"`
	Vaults []string `json:"vaults,omitempty"`
	// Revision, Objects and Size (in bytes) of the backup.
	Revision int64 `json:"revision,omitempty"`
	Objects  int64 `json:"objects,omitempty"`
	Size     int64 `json:"size,omitempty"`
	// Seconds that it took.
	Seconds float64 `json:"seconds"`
	// Master that made it; empty if an operator did, with the command line.
	Master string `json:"master,omitempty"`
	// Error is why it failed.
	Error string `json:"error,omitempty"`
}

// Record is what a cluster remembers of its backups.
type Record struct {
	// Success is the last one, and Failure the last one since.
	Success *Outcome `json:"success,omitempty"`
	Failure *Outcome `json:"failure,omitempty"`
	// Failures since the last success.
	Failures int `json:"failures,omitempty"`
	// Served is the last time of the schedule for which there is a backup.
	Served time.Time `json:"served,omitzero"`
}

// Add takes an outcome into account.
func (r *Record) Add(o Outcome) {
	if o.Error == "" {
		r.Success, r.Failure, r.Failures = &o, nil, 0
		return
	}
	r.Failure = &o
	r.Failures++
}

// Succeeded makes the outcome of a backup that is in these vaults.
func Succeeded(m *Manifest, vaults []string, begun, ended time.Time, master string) Outcome {
	return Outcome{Time: ended.UTC().Truncate(time.Second), Name: m.Name, Vaults: vaults, Revision: m.Revision, Objects: m.Objects,
		Size: m.Size(), Seconds: ended.Sub(begun).Seconds(), Master: master}
}
