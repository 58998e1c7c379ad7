import com.zaxxer.hikari.HikariConfig;
import com.zaxxer.hikari.HikariDataSource;
import java.io.BufferedReader;
import java.io.InputStreamReader;
import java.io.PrintWriter;
import java.sql.Connection;
import java.time.Duration;
import java.util.LinkedHashMap;
import java.util.Map;
import java.util.logging.Logger;
import javax.sql.DataSource;
import org.apache.commons.dbcp2.DataSourceConnectionFactory;
import org.apache.commons.dbcp2.PoolableConnection;
import org.apache.commons.dbcp2.PoolableConnectionFactory;
import org.apache.commons.dbcp2.PoolingDataSource;
import org.apache.commons.pool2.impl.AbandonedConfig;
import org.apache.commons.pool2.impl.GenericObjectPool;

/**
 * What leak detection costs elsewhere: checkout and return of an idle connection, with and without it. Reads lines
 * "case count", answers each with the nanoseconds that so many checkouts took.
 */
public final class Checkout {
    /** As deep as the Rust side's async frames. */
    private static final int FRAMES = 18;
    private static final long WARM_UP_NANOS = 2_500_000_000L;

    private static volatile int sink;

    public static void main(String[] args) throws Exception {
        Map<String, DataSource> pools = new LinkedHashMap<>();
        pools.put("hikari-off", hikari(0));
        pools.put("hikari-on", hikari(30_000));
        pools.put("dbcp2-off", dbcp2(false));
        pools.put("dbcp2-on", dbcp2(true));
        for (int round = 0; round < 2; round++) {
            for (DataSource pool : pools.values()) {
                for (long end = System.nanoTime() + WARM_UP_NANOS / 2; System.nanoTime() < end; ) {
                    below(FRAMES, pool, 1_000);
                }
            }
        }
        PrintWriter out = new PrintWriter(System.out, true);
        out.println("ready on Java " + System.getProperty("java.version"));
        BufferedReader in = new BufferedReader(new InputStreamReader(System.in));
        for (String line = in.readLine(); line != null; line = in.readLine()) {
            String[] words = line.split(" ");
            out.println(below(FRAMES, pools.get(words[0]), Long.parseLong(words[1])));
        }
        System.exit(0);
    }

    private static long below(int frames, DataSource pool, long count) throws Exception {
        long nanos = frames == 0 ? measure(pool, count) : below(frames - 1, pool, count);
        sink = frames;
        return nanos;
    }

    private static long measure(DataSource pool, long count) throws Exception {
        long started = System.nanoTime();
        for (long i = 0; i < count; i++) {
            try (Connection connection = pool.getConnection()) {
                sink = connection.hashCode();
            }
        }
        return System.nanoTime() - started;
    }

    private static DataSource hikari(long leakDetectionThreshold) {
        HikariConfig config = new HikariConfig();
        config.setDataSource(new Stub());
        config.setMaximumPoolSize(1);
        config.setLeakDetectionThreshold(leakDetectionThreshold);
        return new HikariDataSource(config);
    }

    private static DataSource dbcp2(boolean abandoned) {
        PoolableConnectionFactory factory =
                new PoolableConnectionFactory(new DataSourceConnectionFactory(new Stub()), null);
        GenericObjectPool<PoolableConnection> pool = new GenericObjectPool<>(factory);
        pool.setMaxTotal(1);
        factory.setPool(pool);
        if (abandoned) {
            AbandonedConfig config = new AbandonedConfig();
            config.setRemoveAbandonedOnBorrow(true);
            config.setRemoveAbandonedOnMaintenance(true);
            config.setRemoveAbandonedTimeout(Duration.ofSeconds(300));
            // This is what records the stack.
            config.setLogAbandoned(true);
            pool.setAbandonedConfig(config);
        }
        return new PoolingDataSource<>(pool);
    }

    private static final class Stub implements DataSource {
        @Override public Connection getConnection() { return new StubConnection(); }
        @Override public Connection getConnection(String user, String password) { return new StubConnection(); }
        @Override public PrintWriter getLogWriter() { return null; }
        @Override public void setLogWriter(PrintWriter writer) { }
        @Override public void setLoginTimeout(int seconds) { }
        @Override public int getLoginTimeout() { return 0; }
        @Override public Logger getParentLogger() { return null; }
        @Override public <T> T unwrap(Class<T> type) { return null; }
        @Override public boolean isWrapperFor(Class<?> type) { return false; }
    }
}
