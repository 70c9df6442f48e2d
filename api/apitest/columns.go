package apitest

import (
	"encoding/json"
	"fmt"
	"reflect"
	"regexp"
	"testing"
	"time"

	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Row is an object and the cells of its row in a table. Ages are "<age>".
type Row struct {
	Object json.RawMessage `json:"object"`
	Cells  []any           `json:"cells"`
}

// Columns compares the cells of objects of each kind with the rows in its file, testdata/columns/<plural>.jsonl.
func Columns(t *testing.T, kinds ...*kind.Kind) {
	for _, k := range kinds {
		rows, err := lines[Row]("testdata/columns/" + k.Plural + ".jsonl")
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range rows {
			difference, err := row.compare(k)
			if err != nil {
				t.Fatal(err)
			}
			if difference != "" {
				t.Errorf("%s: %s", k.Plural, difference)
			}
		}
	}
}

var agesAgo = regexp.MustCompile(`\((\S+) ago\)`)

func (r Row) compare(i *kind.Kind) (string, error) {
	o := i.New()
	if err := kjson.UnmarshalCaseSensitivePreserveInts(r.Object, o); err != nil {
		return "", err
	}
	i.Default(o)
	if len(i.Columns) != len(r.Cells) {
		return fmt.Sprintf("%d columns, want %d", len(i.Columns), len(r.Cells)), nil
	}
	now, cells := time.Now(), make([]any, len(i.Columns))
	for n, c := range i.Columns {
		cells[n] = c.Cell(o, now)
		switch v := cells[n].(type) {
		case int64:
			cells[n] = float64(v)
		case string:
			cells[n] = agesAgo.ReplaceAllString(v, "(<age> ago)")
		}
		if c.Name == "Age" {
			cells[n] = "<age>"
		}
	}
	if !reflect.DeepEqual(cells, r.Cells) {
		return fmt.Sprintf("cells %v, want %v", cells, r.Cells), nil
	}
	return "", nil
}
