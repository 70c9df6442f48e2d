package master

import (
	"os"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
)

// tooEarly is what etcd says as an error when it looks at its own database before the first commit. It looks again a
// few seconds later; a member that is elected within milliseconds is often that early.
const tooEarly = "failed to update storage version"

// etcdCore leaves out what would only alarm.
type etcdCore struct{ zapcore.Core }

func (c etcdCore) Check(e zapcore.Entry, to *zapcore.CheckedEntry) *zapcore.CheckedEntry {
	if e.Message == tooEarly {
		return to
	}
	return c.Core.Check(e, to)
}

func (c etcdCore) With(fields []zapcore.Field) zapcore.Core { return etcdCore{c.Core.With(fields)} }

// etcdLog passes on what an operator must know of etcd.
func etcdLog() *zap.Logger {
	encoder := zap.NewProductionEncoderConfig()
	encoder.EncodeTime = zapcore.TimeEncoderOfLayout("15:04:05.000")
	return zap.New(etcdCore{zapcore.NewCore(zapcore.NewConsoleEncoder(encoder), zapcore.Lock(os.Stderr), zap.ErrorLevel)})
}
