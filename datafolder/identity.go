package datafolder

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/apimachinery/pkg/util/uuid"
)

// Identify gives this master's name among all: the host's with a part made at the first start, so that a master that
// comes back takes its own leases over at once.
func Identify(dataDir string) (string, error) {
	host, err := os.Hostname()
	if err != nil {
		return "", fmt.Errorf("the host name is unknown: %w", err)
	}
	if dataDir == "" {
		return host + "_" + string(uuid.NewUUID()), nil
	}
	file := filepath.Join(dataDir, IdentityFile)
	data, err := os.ReadFile(file)
	if name := strings.TrimSpace(string(data)); name != "" {
		return name, nil
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return "", fmt.Errorf("the data folder cannot be read: %w", err)
	}
	identity := host + "_" + string(uuid.NewUUID())
	return identity, WriteFile(file, []byte(identity+"\n"))
}
