package master

import (
	"errors"
	"testing"
	"time"

	"github.com/robfig/cron/v3"
)

// TestDue goes through the days of a daily backup: on time, missed for days, failing, and well again.
func TestDue(t *testing.T) {
	schedule, err := cron.ParseStandard("0 3 * * *")
	if err != nil {
		t.Fatal(err)
	}
	at := func(day, hour, minute int) time.Time { return time.Date(2026, 3, day, hour, minute, 0, 0, time.Local) }
	k := &keeper{schedule: schedule, served: at(1, 12, 0)}
	want := func(what string, due time.Time) {
		t.Helper()
		if got := k.due(); !got.Equal(due) {
			t.Errorf("%s: due %v, expected %v", what, got, due)
		}
	}
	want("the first", at(2, 3, 0))
	k.ended(at(2, 3, 0), nil)
	want("the next day", at(3, 3, 0))
	// No master ran on the 3rd and 4th: what is due since the 3rd is made once.
	k.ended(at(5, 9, 30), nil)
	want("after missed days", at(6, 3, 0))
	failure := errors.New("the disk is full")
	begun := at(6, 3, 0)
	for _, pause := range []time.Duration{1, 2, 4, 8, 16, 32, 60, 60} {
		k.ended(begun, failure)
		want("after a failure", begun.Add(pause*time.Minute))
		begun = k.due()
	}
	k.ended(begun, nil)
	want("well again", at(7, 3, 0))
	// Tries that are further apart than the schedule keep to the schedule's next time that is not before.
	for range 10 {
		k.ended(at(6, 23, 59), failure)
	}
	want("failing for long", at(7, 3, 0))
}

func TestBackupsCheck(t *testing.T) {
	if err := (&Backups{}).check(""); err != nil {
		t.Error(err)
	}
	for _, b := range []Backups{{Schedule: "often"}, {Schedule: "@daily"}} {
		if err := b.check("/data"); err == nil {
			t.Errorf("%+v is accepted", b)
		}
	}
}
