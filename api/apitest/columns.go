package apitest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"reflect"
	"regexp"
	"time"

	kjson "sigs.k8s.io/json"

	"github.com/wheelhouse-k8s/wheelhouse/api/kind"
)

// Row is an object and the cells of its row in a table. Ages are "<age>".
type Row struct {
	Object json.RawMessage `json:"object"`
	Cells  []any           `json:"cells"`
}

// Columns compares the cells of the objects in a file, one Row a line, and tells each difference.
func Columns(i *kind.Kind, file string) (differences []string, err error) {
	data, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	lines := bufio.NewScanner(bytes.NewReader(data))
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		var row Row
		if err := json.Unmarshal(lines.Bytes(), &row); err != nil {
			return nil, err
		}
		difference, err := row.compare(i)
		if err != nil {
			return nil, err
		}
		if difference != "" {
			differences = append(differences, difference)
		}
	}
	return differences, lines.Err()
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
