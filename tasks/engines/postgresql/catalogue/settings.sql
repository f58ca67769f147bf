-- Until the end of the transaction: everything that changes how the server prints a definition, and plans whose
-- cost follows the tables asked for, not the size of the catalogue (its statistics are often missing or old).
select set_config(name, value, true)
from (values
    ('search_path', 'pg_catalog, pg_temp'),
    ('quote_all_identifiers', 'off'),
    ('standard_conforming_strings', 'on'),
    ('datestyle', 'ISO, YMD'),
    ('intervalstyle', 'postgres'),
    ('timezone', 'UTC'),
    ('extra_float_digits', '1'),
    ('bytea_output', 'hex'),
    ('lc_monetary', 'C'),
    ('enable_hashjoin', 'off'),
    ('enable_mergejoin', 'off'),
    ('jit', 'off')
) as setting (name, value)
