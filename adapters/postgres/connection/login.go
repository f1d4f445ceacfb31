package connection

import (
	"context"
	"log/slog"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
)

// freshLogin gives a pool's BeforeConnect, which reads the files that the URL or the environment names (passfile, sslcert,
// sslkey, sslrootcert) again for each new connection: the driver reads them once. What cannot be read, and a password file
// that has no password for this database any more, leave what was good.
func freshLogin(url string, logger *slog.Logger) func(context.Context, *pgx.ConnConfig) error {
	return func(ctx context.Context, config *pgx.ConnConfig) error {
		fresh, err := pgxpool.ParseConfig(url) // which knows the pool's own parameters, too
		if err != nil {
			logger.WarnContext(ctx, "the files of the database login cannot be read again; what was good stays in use", "error", err)
			return nil
		}
		config.TLSConfig, config.Fallbacks = fresh.ConnConfig.TLSConfig, fresh.ConnConfig.Fallbacks
		if fresh.ConnConfig.Password != "" {
			config.Password = fresh.ConnConfig.Password
		}
		return nil
	}
}

// ConnConfig is that of a connection beside the pool.
func (p *Pool) ConnConfig(ctx context.Context) (*pgx.ConnConfig, error) {
	config := p.Config()
	return config.ConnConfig, config.BeforeConnect(ctx, config.ConnConfig)
}
