import java.nio.file.Files;
import java.nio.file.Path;
import org.apache.pulsar.client.api.Schema;
import org.apache.pulsar.functions.api.Context;
import org.apache.pulsar.functions.api.Function;
import org.apache.pulsar.functions.api.Record;

/** Does what its input says; the function "scenario" of the Go program ownworker does the same. */
public class Scenario implements Function<String, String> {
    @Override
    public String process(String input, Context context) throws Exception {
        String[] words = input.split(" ", 2);
        Record<?> record = context.getCurrentRecord();
        switch (words[0]) {
            case "fail":
                throw new IllegalStateException("no good");
            case "flaky":
                if (record.getMessage().get().getRedeliveryCount() == 0) {
                    throw new IllegalStateException("not now");
                }
                return "flaky done";
            case "none":
                return null;
            case "log":
                context.getLogger().info(words[1]);
                return null;
            case "publish":
                context.newOutputMessage((String) context.getUserConfigValue("side").get(), Schema.STRING)
                        .key("k").property("p", "v").value(words[1]).sendAsync();
                return null;
            case "facts":
                return "key " + record.getKey().orElse("none") + ", property " + record.getProperties().get("a")
                        + ", event time " + record.getEventTime().orElse(0L)
                        + ", config " + context.getUserConfigValueOrDefault("word", "none");
            case "block":
                Path marker = Path.of((String) context.getUserConfigValue("marker").get());
                if (!Files.exists(marker)) {
                    Files.createFile(marker);
                    Thread.sleep(3_600_000);
                }
                return "block done";
            default:
                return input + "!";
        }
    }
}
