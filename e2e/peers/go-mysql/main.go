// How much of a binlog file go-mysql decodes: `go-mysql mysql|mariadb FILE` prints what it found as one line of JSON. What it took
// is measured from outside, as for the program beside it.
package main

import (
	"encoding/json"
	"fmt"
	"os"

	"github.com/go-mysql-org/go-mysql/replication"
)

type found struct {
	Changes uint64 `json:"changes"`
	Images  uint64 `json:"images"`
}

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: go-mysql mysql|mariadb FILE")
		os.Exit(2)
	}
	if err := decode(os.Args[1], os.Args[2]); err != nil {
		fmt.Fprintln(os.Stderr, "go-mysql:", err)
		os.Exit(1)
	}
}

func decode(flavor, path string) error {
	var sum found
	parser := replication.NewBinlogParser()
	parser.SetFlavor(flavor)
	parser.SetVerifyChecksum(true)
	err := parser.ParseFile(path, 0, func(event *replication.BinlogEvent) error {
		rows, ok := event.Event.(*replication.RowsEvent)
		if !ok {
			return nil
		}
		images := uint64(len(rows.Rows))
		sum.Images += images
		switch event.Header.EventType {
		case replication.UPDATE_ROWS_EVENTv1, replication.UPDATE_ROWS_EVENTv2:
			images /= 2
		}
		sum.Changes += images
		return nil
	})
	if err != nil {
		return err
	}
	return json.NewEncoder(os.Stdout).Encode(sum)
}
