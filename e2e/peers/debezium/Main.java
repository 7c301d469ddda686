import io.debezium.engine.ChangeEvent;
import io.debezium.engine.DebeziumEngine;
import io.debezium.engine.format.Json;
import java.lang.management.ManagementFactory;
import java.util.List;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicReference;

/**
 * Reads the changes of one table from the beginning of a server's binlog to JSON in memory, with Debezium's embedded
 * engine: {@code PORT TABLE CHANGES} prints what that took, from the first change to the last, as one line of JSON.
 */
public final class Main {
    private static final long LIMIT_MINUTES = 10;

    private final long wanted;
    private final CountDownLatch done = new CountDownLatch(1);
    private long seen;
    private long bytes;
    private long startNanos;
    private long startCpu;

    private Main(long wanted) {
        this.wanted = wanted;
    }

    public static void main(String[] arguments) throws Exception {
        if (arguments.length != 3) {
            System.err.println("usage: debezium PORT TABLE CHANGES");
            System.exit(2);
        }
        Main main = new Main(Long.parseLong(arguments[2]));
        main.run(arguments[0], arguments[1]);
    }

    private void run(String port, String table) throws Exception {
        AtomicReference<String> failure = new AtomicReference<>();
        DebeziumEngine<ChangeEvent<String, String>> engine = DebeziumEngine.create(Json.class)
                .using(properties(port, table))
                .notifying((List<ChangeEvent<String, String>> events,
                        DebeziumEngine.RecordCommitter<ChangeEvent<String, String>> committer) -> count(events))
                .using((success, message, error) -> {
                    failure.set(success ? null : message + ": " + error);
                    done.countDown();
                })
                .build();
        ExecutorService thread = Executors.newSingleThreadExecutor();
        thread.execute(engine);
        boolean inTime = done.await(LIMIT_MINUTES, TimeUnit.MINUTES);
        if (!inTime || seen < wanted) {
            System.err.println("debezium: " + seen + " of " + wanted + " changes; " + failure.get());
            System.exit(1);
        }
        // Its threads may go on; what was to be measured is over.
        Runtime.getRuntime().halt(0);
    }

    private void count(List<ChangeEvent<String, String>> events) {
        if (startNanos == 0) {
            startNanos = System.nanoTime();
            startCpu = cpu();
        }
        for (ChangeEvent<String, String> event : events) {
            bytes += event.value() == null ? 0 : event.value().length();
            seen++;
        }
        if (seen >= wanted && done.getCount() > 0) {
            System.out.printf("{\"changes\":%d,\"bytes\":%d,\"wall\":%.3f,\"cpu\":%.3f}%n", seen, bytes,
                    (System.nanoTime() - startNanos) / 1e9, (cpu() - startCpu) / 1e9);
            System.out.flush();
            done.countDown();
        }
    }

    private static long cpu() {
        return ((com.sun.management.OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean())
                .getProcessCpuTime();
    }

    private static Properties properties(String port, String table) {
        Properties properties = new Properties();
        String[][] pairs = {
            {"name", "bench"}, {"topic.prefix", "bench"},
            {"connector.class", "io.debezium.connector.mysql.MySqlConnector"},
            {"database.hostname", "127.0.0.1"}, {"database.port", port}, {"database.user", "root"},
            {"database.password", ""}, {"database.server.id", "99999"}, {"database.ssl.mode", "disabled"},
            {"table.include.list", table}, {"tombstones.on.delete", "false"},
            {"offset.storage", "org.apache.kafka.connect.storage.MemoryOffsetBackingStore"},
            {"schema.history.internal", "io.debezium.relational.history.MemorySchemaHistory"},
            // Neither data nor schema is read beforehand: it all stands in the binlog.
            {"snapshot.mode", "configuration_based"},
            {"snapshot.mode.configuration.based.snapshot.data", "false"},
            {"snapshot.mode.configuration.based.snapshot.schema", "false"},
            {"snapshot.mode.configuration.based.start.stream", "true"},
            {"converter.schemas.enable", "false"}, {"include.schema.changes", "false"},
            {"max.queue.size", "65536"}, {"max.batch.size", "16384"},
        };
        for (String[] pair : pairs) {
            properties.setProperty(pair[0], pair[1]);
        }
        return properties;
    }
}
