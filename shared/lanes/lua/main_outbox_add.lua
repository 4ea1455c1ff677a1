-- ARGV: for each outcome the tenant in whose turn it is taken, and its row.
for i = 1, #ARGV, 2 do add_outcomes(ARGV[i], {ARGV[i + 1]}) end
list_all_added()
